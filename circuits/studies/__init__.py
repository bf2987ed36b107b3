"""Case studies: claims about circuits, tested by interventions on prompts that nothing was chosen on."""
