"""Binary accuracy of our runs, as in the paper: is a solar cell defective (probability above one half)?

    python bench/elpv.py exp0001 exp0006          # runs of anomaly-practice that are done here

Deitsch et al. 2019 (Solar Energy 185, https://arxiv.org/abs/1807.02894) trained for this question and report 88.42 %
accuracy with a VGG-19 at 300 pixels, on a 75 : 25 split. Our runs are trained for the eight class-states; here the
probabilities of crack2 and crack3 are summed, and compared with one half. The split has the same shares, but is another
random draw.
"""

import argparse
import numpy as np
import pandas as pd
from kagglekit.data.competition import find_comp, load_pages, prob_columns
from kagglekit.runs.run import Run


def accuracy(p, labels, classes):
    "Accuracy with its 95 % interval (Wilson), and which rows are predicted correctly."
    defect = [i for i, c in enumerate(classes) if c.endswith(('crack2', 'crack3'))]
    right = (p[:, defect].sum(1) > 0.5) == np.array([t.endswith(('crack2', 'crack3')) for t in labels])
    a, n, z = right.mean(), len(right), 1.96
    middle, half = (
        (a + z * z / (2 * n)) / (1 + z * z / n),
        z * np.sqrt(a * (1 - a) / n + z * z / (4 * n * n)) / (1 + z * z / n),
    )
    return f'{a:8.2%} ({middle - half:.2%} to {middle + half:.2%})', right


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('exps', nargs='+', help='runs of anomaly-practice')
    load_pages()
    comp = find_comp('anomaly-practice')
    answers = pd.read_parquet(comp.folder / '.answers.parquet').set_index('id').answer
    truth, columns = answers[comp.test.sample_id].tolist(), prob_columns(comp.classes)
    print(f'{"":10s} {f"test, {len(truth)} cells":28s} {f"out-of-fold, {len(comp.train)} cells":28s} {"":10s} what')
    for exp in parser.parse_args().exps:
        run = Run(comp.name, exp)
        said = {}
        for name, ids, labels in (('test', comp.test.id, truth), ('oof', comp.train.id, comp.train.label)):
            path = run.folder / f'{name}.parquet'  # a run on all rows has no out-of-fold rows
            if not path.exists():
                said[name] = 'none: trained on all rows'
                continue
            rows = pd.read_parquet(path)
            assert rows.id.tolist() == ids.tolist(), path
            said[name], right = accuracy(rows[columns].to_numpy(), labels, comp.classes)
            if name == 'test':
                wrong = pd.Series(~right).groupby(pd.Series(labels).str.split('-').str[1]).agg(['sum', 'size'])
        seconds = run.read('score.json').get('seconds') or 0
        reason = run.read('params.json').get('reason', '')
        print(f'{exp:10s} {said["test"]:28s} {said["oof"]:28s} {seconds / 60:6.1f} min  {reason}')
        print(f'{"":10s} wrong in test: {", ".join(f"{state} {w} of {n}" for state, w, n in wrong.itertuples())}')


if __name__ == '__main__':
    main()
