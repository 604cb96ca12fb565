"""Networks, their activations and losses, and the kernel that computes gradients."""
