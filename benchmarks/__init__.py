"""What is claimed of this project, measured. A package of its own: Opacus brings another one of this name."""
