"""What every service stands on."""

import os

# Before torch is imported anywhere: its threads are to sleep while they wait for each other. By default they spin, and
# keep the processors from the very threads they wait for as soon as anything else runs beside them: the simulator,
# another worker, a second model. A decision then takes ten to twenty times as long.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
