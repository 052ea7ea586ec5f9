"""What happens when things go wrong: kills, crowds, bad parameters, bad tables, bad images, damaged runs.

    python bench/faults.py                      # everything, about 40 minutes on two cores
    python bench/faults.py params damage        # some sections
    python bench/faults.py kills --n 40 --seed 1

Each case is one input and what it must get; each section prints what went wrong, and its line of the score card:
right of N. The exit status is 1 when a case went wrong. Practice data are written where the bench runs, in a
temporary workspace that is deleted at the end.
"""

import argparse
import sys
from faults_cases import SECTIONS
from faults_tools import Card, scratch_space


def main():
    "Run the sections that are asked for, and print the score card."
    parser = argparse.ArgumentParser(description='Inputs of every kind of fault, and what they get.')
    parser.add_argument('sections', nargs='*', help=f'of {", ".join(SECTIONS)}; all when left out')
    parser.add_argument('--n', type=int, default=40, help='kills')
    parser.add_argument('--first', type=int, default=0, help='number of the first kill; those before it are left out')
    parser.add_argument('--seed', type=int, default=0, help='of the random moments')
    given = parser.parse_args()
    unknown = set(given.sections) - set(SECTIONS)
    if unknown:
        parser.error(f'unknown section {", ".join(sorted(unknown))}; known: {", ".join(SECTIONS)}')
    cards = []
    for name in given.sections or SECTIONS:
        card = Card(name)
        with scratch_space() as space:
            SECTIONS[name](card, space, given)
        cards.append(card)
        print(card.line(), flush=True)
    print('\n' + '\n'.join(card.line() for card in cards))
    sys.exit(any(card.wrong for card in cards))


if __name__ == '__main__':
    main()
