"""MedM-VL."""
