"""Every rule by its name: how bad it is to break it, and what to do about it.

They are the tables and the unwritten rules of graph JSON (`docs/exchange.md` lists them), read in the code of
Anthropic's attribution-graphs-frontend, Neuronpedia and circuit-tracer. A warning is what only one of them needs.
"""

__all__ = ["RULES"]

ERROR, WARNING = "error", "warning"

RULES: dict[str, tuple[str, str]] = {
    # any file
    "json-constants": (ERROR, "write null or leave the key out; browsers refuse the whole file"),
    "file-kind": (ERROR, "check that this is the file you meant"),
    "file-check": (ERROR, "write or download the file again"),
    # a graph: the whole
    "top-required": (ERROR, "add the key, `{}` will do for qParams"),
    "top-types": (ERROR, "write it as that type"),
    "upload-size": (WARNING, "Neuronpedia refuses an upload of another size; prune more, or keep more"),
    # its metadata
    "metadata-required": (ERROR, "add the key to metadata"),
    "slug-characters": (ERROR, "rename it: it becomes a file name and a part of an address"),
    "scan-characters": (
        ERROR,
        "rename it: it becomes a folder name; circuit-tracer puts a hub name here, which its own page alone can use",
    ),
    "prompt-text": (ERROR, "write the prompt as text"),
    "prompt-tokens": (ERROR, "write the tokens as a list of texts, at least one"),
    "node-threshold": (ERROR, "write a number or leave the key out, null stops the page's slider"),
    "schema-version": (ERROR, "write 1 if `feature` holds Cantor pairs, else leave the key out"),
    "transcoder-list": (ERROR, "write a list of names or leave the key out"),
    "feature-details": (ERROR, "write an object with these texts or leave the key out"),
    "info": (ERROR, "write an object with these types or leave the key out"),
    "generation-settings": (ERROR, "write an object with these types or leave the key out"),
    "pruning-settings": (ERROR, "write an object with numbers or leave the key out"),
    # nodes
    "node-object": (ERROR, "write every node as an object"),
    "node-required": (ERROR, "add the key to the node"),
    "node-id-text": (ERROR, "write a text that is not empty"),
    "js-node-id-text": (ERROR, "write a text that is not empty"),
    "clerp-text": (ERROR, "write a text, it may be empty"),
    "feature-integer": (ERROR, "write an integer or null"),
    "layer-form": (ERROR, "write the number of the layer, as integer or as text"),
    "ctx-idx": (ERROR, "write the position of the token that the node is at"),
    "feature-type": (ERROR, "name per-layer transcoder features `cross layer transcoder` too"),
    "embedding-layer": (ERROR, "embeddings have layer E, nothing else has"),
    "logit-clerp": (ERROR, "end the label in the probability, the pages read it from there"),
    "cantor-feature": (ERROR, "write (l+i)(l+i+1)/2 + i for index i at layer l, or leave schema_version out"),
    "influence-range": (ERROR, "write the CUMULATIVE influence as a share of the whole"),
    "activation-finite": (ERROR, "write a finite number or null"),
    "token-prob-range": (ERROR, "write the probability of the token"),
    "is-target-logit": (ERROR, "write true or false"),
    "qk-tracing-results": (ERROR, "write rows of query, key and value, or leave the key out"),
    "node-id-unique": (ERROR, "give each node an id of its own"),
    "js-node-id-unique": (ERROR, "give each node a jsNodeId of its own, such as its node_id"),
    "largest-layer": (ERROR, "number layers from 0 and put the logits above them"),
    "logit-above": (ERROR, "give logits a layer above all others, n_layers + 1"),
    "token-prob-on-logits": (WARNING, "Neuronpedia's scores need it; write the probability of the token"),
    "js-node-id-form": (
        WARNING,
        "Neuronpedia expects {layer}_{feature}_{ctx_idx} for features and {n_layers + 1}_{token}_{pos} for logits",
    ),
    # links
    "link-object": (ERROR, "write every link as an object"),
    "link-required": (ERROR, "add the key to the link"),
    "link-end": (ERROR, "end links on nodes that are in the file, by node_id"),
    "link-weight": (ERROR, "write a finite number"),
    # qParams
    "pinned-ids": (ERROR, "write a list of node ids"),
    "supernodes": (ERROR, "write [[label, node id, ...], ...]"),
    "qparams-text": (ERROR, "write a text or leave the key out"),
    "qparams-known-ids": (WARNING, "Anthropic's page stops on ids that it does not have; remove them"),
    "qk-only-nodes": (ERROR, "write a list or leave the key out"),
    # a feature file
    "feature-index": (ERROR, "write the number that `feature` has in the graph"),
    "feature-name": (ERROR, "name the file after its index, pages look for that name"),
    "examples-quantiles": (ERROR, "write a list of {quantile_name, examples}"),
    "example": (ERROR, "write an object with one activation for each token, and the peak's place as train_token_ind"),
    "feature-optional": (ERROR, "write it as that type or leave the key out"),
    # graph-metadata.json and the folder
    "index-required": (ERROR, "write {graphs: [{slug, scan, prompt_tokens, prompt, title_prefix}]}"),
    "index-slug-unique": (ERROR, "keep one entry for each slug"),
    "title-prefix": (WARNING, "Anthropic's page shows it in its list; write a text, it may be empty"),
    "folder-index": (ERROR, "write graph-metadata.json; a page finds graphs by it"),
    "folder-graph": (ERROR, "write the graph, or take its entry out of graph-metadata.json"),
    "folder-agrees": (ERROR, "write the same value into both files"),
    "folder-features": (WARNING, "Anthropic's page shows no examples there; export with --site or host them"),
    "folder-unlisted": (WARNING, "the pages do not list it; add it to graph-metadata.json"),
    # supernodes.json
    "supernodes-schema": (ERROR, "write 1, or use the release that wrote the file"),
    "supernodes-once": (ERROR, "put each node into one supernode"),
}
