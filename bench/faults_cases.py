"The sections of bench/faults.py, by name."

import faults_damage
import faults_inputs
import faults_kills

SECTIONS = dict(
    params=faults_inputs.params,
    tables=faults_inputs.tables,
    images=faults_inputs.images,
    shell=faults_damage.shell,
    damage=faults_damage.damage,
    hostile=faults_damage.hostile,
    crowd=faults_kills.crowd,
    kills=faults_kills.kills,
)
