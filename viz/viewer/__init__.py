"""The page that shows graphs in a browser: its data, its file, its annotations and its server.

    payload      what the page knows of a graph, enough to prune it there exactly as `circuits.prune` does
    page         one self-contained file
    annotations  what people add: supernodes, pins, places, labels
    server       the same page and its data on loopback

Importing this package costs nothing.
"""
