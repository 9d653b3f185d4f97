"""The paper's tables and figures: what they are made of, running it, and setting ours beside what was published."""
