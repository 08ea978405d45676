"""Experiments that ship with MedM-VL, and the recipes they start from."""
