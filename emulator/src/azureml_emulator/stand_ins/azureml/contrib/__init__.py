"""The older names of what scoring scripts import; other distributions may have parts of this package, too."""

from pkgutil import extend_path

__path__ = extend_path(__path__, __name__)
