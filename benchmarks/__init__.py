"""Evidence about dawm on public tasks. Not part of the package: nothing in `dawm/` imports it."""
