"""The study of hallucination: what feeds declining, what changes it, and whether a graph tells a wrong answer."""
