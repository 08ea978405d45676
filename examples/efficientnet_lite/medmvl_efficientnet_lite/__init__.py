"""EfficientNet-Lite as an image encoder of MedM-VL."""
