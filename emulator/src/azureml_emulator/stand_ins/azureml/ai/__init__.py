"""A folder of packages, of which another distribution may have others."""

import pkgutil

__path__ = pkgutil.extend_path(__path__, __name__)
