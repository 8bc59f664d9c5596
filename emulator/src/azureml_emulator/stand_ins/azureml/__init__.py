"""What a scoring script may import of Azure's packages where those are not installed; an installed one comes first."""

import pkgutil

__path__ = pkgutil.extend_path(__path__, __name__)
