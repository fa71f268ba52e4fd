"""Small image classifiers and a small data set for optimctl: `resnet`, `vit` and `digits`, each loaded by itself."""
