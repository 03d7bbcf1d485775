"""Generators as ONNX graphs: traced, written operation by operation, checked."""
