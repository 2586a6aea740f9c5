#!/usr/bin/env bash
# Runs one campaign of src/log/tests/campaigns, optimized. Called by powerloss, faults and rot.
#
# usage: scripts/campaign.sh TEST [--states | --operations | --flips N] [--seed S]
set -euo pipefail
cd "$(dirname "$0")/.."
test=$1
shift
while [ $# -gt 0 ]; do
    case $1 in
        --states | --operations | --flips) export CORELANE_STATES=${2:?a number} ;;
        --seed) export CORELANE_SEED=${2:?a number} ;;
        *)
            sed -n '2,/^set /s/^# \{0,1\}//p' "$0" >&2
            exit 2
            ;;
    esac
    shift 2
done
exec cargo test --release --locked --lib campaigns -- --exact --nocapture \
    "log::tests::campaigns::${test%%_*}::$test"
