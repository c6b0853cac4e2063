#include "msl/unit.h"

bool sm_drop_duplicates(sm_unit *unit) { return !unit->arena.failed; }
