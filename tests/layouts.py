"The twelve drawn practice competitions: what the real ones have, and their solutions."

from typing import NamedTuple
import pandas as pd
from kagglekit.practice.standin_birdclef import SONGS
from kagglekit.practice.standin_hms import VOTES
from kagglekit.practice.standin_scans import LINES


class Layout(NamedTuple):
    "What the real competition has."

    tables: dict  # file → its columns, separated by |
    best: float  # score of the truth
    poor: float  # a score that the sample does not reach
    count: int  # of its files
    less: bool = False  # whether less is better
    units: bool = False  # whether several rows are scored together
    images: dict = {}  # (table, column) → pattern of the image's path
    package: str | None = None  # that writes its files
    extra: str | None = None  # of kagglekit, that brings the package

    @property
    def sample(self) -> str:
        "The file of the sample submission."
        return next(name for name in self.tables if 'sample_submission' in name)


SPECIES = '|'.join(SONGS)
SHARES = '|'.join(VOTES)
CATHETERS = '|'.join(LINES)
PETS = 'Subject Focus|Eyes|Face|Near|Action|Accessory|Group|Collage|Human|Occlusion|Info|Blur'
LESION = (
    'patient_id|age_approx|sex|anatom_site_general|clin_size_long_diam_mm|image_type|tbp_lv_areaMM2|'
    'tbp_lv_norm_border|tbp_lv_norm_color|tbp_lv_symm_2axis|attribution|copyright_license'
)
LAYOUTS = {
    'aptos-practice': Layout(
        {
            'train.csv': 'id_code|diagnosis',
            'test.csv': 'id_code',
            'sample_submission.csv': 'id_code|diagnosis',
        },
        best=1,
        poor=0.01,
        count=500 + 3,
        images={('train.csv', 'id_code'): 'train_images/{}.png', ('test.csv', 'id_code'): 'test_images/{}.png'},
    ),
    'pawpularity-practice': Layout(
        {
            'train.csv': f'Id|{PETS}|Pawpularity',
            'test.csv': f'Id|{PETS}',
            'sample_submission.csv': 'Id|Pawpularity',
        },
        best=0,
        poor=20,
        count=500 + 3,
        less=True,
        images={('train.csv', 'Id'): 'train/{}.jpg', ('test.csv', 'Id'): 'test/{}.jpg'},
    ),
    'ranzcr-practice': Layout(
        {
            'train.csv': f'StudyInstanceUID|{CATHETERS}|PatientID',
            'train_annotations.csv': 'StudyInstanceUID|label|data',
            'sample_submission.csv': f'StudyInstanceUID|{CATHETERS}',
        },
        best=1,
        poor=0.51,
        count=500 + 3,
        units=True,
        images={
            ('train.csv', 'StudyInstanceUID'): 'train/{}.jpg',
            ('sample_submission.csv', 'StudyInstanceUID'): 'test/{}.jpg',
        },
    ),
    'haemorrhage-practice': Layout(
        {'stage_2_train.csv': 'ID|Label', 'stage_2_sample_submission.csv': 'ID|Label'},
        best=0,
        poor=0.69,
        count=500 + 2,
        less=True,
        units=True,
        images={
            ('stage_2_train.csv', 'ID'): 'stage_2_train/{}.dcm',
            ('stage_2_sample_submission.csv', 'ID'): 'stage_2_test/{}.dcm',
        },
        package='pydicom',
        extra='dicom',
    ),
    'imet-practice': Layout(
        {
            'train.csv': 'id|attribute_ids',
            'labels.csv': 'attribute_id|attribute_name',
            'sample_submission.csv': 'id|attribute_ids',
        },
        best=1,
        poor=0.3,
        count=540 + 3,
        images={('train.csv', 'id'): 'train/{}.png', ('sample_submission.csv', 'id'): 'test/{}.png'},
    ),
    'bengali-practice': Layout(
        {
            'train.csv': 'image_id|grapheme_root|vowel_diacritic|consonant_diacritic|grapheme',
            'test.csv': 'row_id|image_id|component',
            'class_map.csv': 'component_type|label|component',
            'sample_submission.csv': 'row_id|target',
        },
        best=1,
        poor=0.16,
        count=2 + 4,
        units=True,
    ),
    'mammography-practice': Layout(
        {
            'train.csv': 'site_id|patient_id|image_id|laterality|view|age|cancer|biopsy|invasive|BIRADS|implant|'
            'density|machine_id|difficult_negative_case',
            'test.csv': 'site_id|patient_id|image_id|laterality|view|age|implant|machine_id|prediction_id',
            'sample_submission.csv': 'prediction_id|cancer',
        },
        best=1,
        poor=0.4,
        count=508 + 3,
        units=True,
        package='pydicom',
        extra='dicom',
    ),
    'isic-practice': Layout(
        {
            'train-metadata.csv': f'isic_id|target|{LESION}|lesion_id|iddx_full|iddx_1|tbp_lv_dnn_lesion_confidence',
            'test-metadata.csv': f'isic_id|{LESION}',
            'sample_submission.csv': 'isic_id|target',
        },
        best=0.2,
        poor=0.021,
        count=400 + 2 + 3,
        package='h5py',
        extra='hdf5',
    ),
    'birdclef-practice': Layout(
        {
            'train_metadata.csv': 'primary_label|secondary_labels|type|latitude|longitude|scientific_name|common_name|'
            'author|license|rating|url|filename',
            'sample_submission.csv': f'row_id|{SPECIES}',
        },
        best=1,
        poor=0.51,
        count=96 + 20 + 2,
        units=True,
        package='soundfile',
        extra='audio',
    ),
    'hms-practice': Layout(
        {
            'train.csv': 'eeg_id|eeg_sub_id|eeg_label_offset_seconds|spectrogram_id|spectrogram_sub_id|'
            f'spectrogram_label_offset_seconds|label_id|patient_id|expert_consensus|{SHARES}',
            'test.csv': 'spectrogram_id|eeg_id|patient_id',
            'sample_submission.csv': f'eeg_id|{SHARES}',
        },
        best=0,
        poor=0.8,
        count=80 + 30 + 3,
        less=True,
    ),
    'biomass-practice': Layout(
        {
            'train.csv': 'sample_id|image_path|Sampling_Date|State|Species|Pre_GSHH_NDVI|Height_Ave_cm|target_name|'
            'target',
            'test.csv': 'sample_id|image_path|target_name',
            'sample_submission.csv': 'sample_id|target',
        },
        best=1,
        poor=0,
        count=400 + 3,
        units=True,
    ),
    'whales-practice': Layout(
        {'train.csv': 'image|species|individual_id', 'sample_submission.csv': 'image|predictions'},
        best=1,
        poor=0.02,
        count=4600 + 2,
    ),
}


def truth_of(folder):
    "The solution in the form of the hand-in."
    return pd.read_parquet(folder / '.answers.parquet').drop(columns=['unit', 'public'], errors='ignore')


def files_of(folder):
    "All its files but the hidden answers, relative to it."
    return sorted(p.relative_to(folder) for p in folder.rglob('*') if p.is_file() and p.name != '.answers.parquet')
