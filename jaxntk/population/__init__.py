"""The kernels of many architectures at once, on one device or on many."""
