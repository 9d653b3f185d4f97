"""How fast, and how much memory: measured beside a straightforward baseline and beside the machine's own limits."""
