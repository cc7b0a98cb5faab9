"""`python -m dawm` is `dawm`."""

import sys

from dawm.cli.main import main

sys.exit(main())
