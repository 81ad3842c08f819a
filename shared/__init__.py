"""What every service stands on."""

import os

# Before torch is imported anywhere: its threads wait for each other, and are to spin for a tenth of a millisecond
# before they sleep. By default they spin for milliseconds, and keep the processors from the very threads they wait for
# as soon as anything else runs beside them: the simulator, another worker, a second model. A decision then takes up to
# twenty times as long; docs/training-log.md has the figures. GNU's OpenMP alone knows the variable.
os.environ.setdefault("GOMP_SPINCOUNT", "3000")
