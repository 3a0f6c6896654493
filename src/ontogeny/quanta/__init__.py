"""Skills in the loss: which tokens a model predicts for the same reason, found by the gradients of their losses."""
