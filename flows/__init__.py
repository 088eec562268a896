"""The stages as Prefect flows. Each calls one function of ``lvm.pipeline`` and adds what Prefect is for.

Imports inside this package are relative: a checkout has it as ``flows``, an installed wheel as ``lvm.flows``.
"""

import os

from lvm.cli.surroundings import exempt, take_login
from lvm.settings import url_readers

from .database_url import read

take_login(os.environ.get("PREFECT_API_URL", ""))
exempt()  # before Prefect makes a client
url_readers["prefect"] = read
