import viz
from circuits import attribute, prune, strongest_features
from replacement_model import ReplacementModel

model = ReplacementModel.from_pretrained("pocket")
graph = attribute(model, "the capital of the state containing Dallas is")
circuit = prune(graph, node_threshold=0.8, edge_threshold=0.98)
viz.graphviz(circuit).render("dallas", format="svg")

print(f"{graph.targets[0].label} {graph.targets[0].weight:.2f}, replacement score {circuit.replacement_score:.2f}")
for feature in strongest_features(circuit, count=5):
    node = graph.node_attributes(feature.node)
    print(f"{feature.influence:5.1%}  layer {node['layer']}  at {graph.tokens[node['pos']]:8}  {node['label']}")
