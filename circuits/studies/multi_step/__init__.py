"""The study of multi-step reasoning: supernodes found through graphs, swapped on prompts that did not choose them."""
