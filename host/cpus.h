// SPDX-License-Identifier: Apache-2.0
#pragma once

// Leaves the calling thread `most` of the CPUs that it may use (0: all), beginning at one that the seed chooses.
void cpus_choose(unsigned int most, unsigned int seed);
