import logging
import os
import sys

from .cli import main

code = main()
if "--launcher" in sys.argv:  # one of several processes: threads of Gloo may abort an interpreter that ends by and by
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
sys.exit(code)
