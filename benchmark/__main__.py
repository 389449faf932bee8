"""``python -m medssl_bench``: the ``bench`` command."""

from medssl_bench.cli import main

if __name__ == "__main__":
    main()
