"""Whether an image may come here: policies, signatures, and making them."""
