"""Parts for MedM-VL: `gated`, a connector, and `small_cnn`, an image encoder."""
