"""`python -m medmvl`, which is also how `torchrun -m medmvl train ...` starts."""

from medmvl.cli.main import main

if __name__ == "__main__":
    main()
