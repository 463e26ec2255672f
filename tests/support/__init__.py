"""What tests share: parts of the real thing to test on, doubles, and behaviours that several run."""
