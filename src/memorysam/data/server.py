"""What the server that starts the reading processes imports, and nobody else: importing this changes the process.

Batch systems send SIGTERM to all processes of a run. Without this the server would die of it, and the reading
processes, alive, would be taken for dead while the last step is finished and saved. The server ends with the process
that trains, however that ends.
"""

import signal

signal.signal(signal.SIGTERM, signal.SIG_IGN)
