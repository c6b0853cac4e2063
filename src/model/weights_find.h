/* What finding a model's weights and loading them share. */
#ifndef PV_MODEL_WEIGHTS_FIND_H
#define PV_MODEL_WEIGHTS_FIND_H

#include "model/architecture.h"

static inline bool pv_role_is_vector(const pv_role *role)
{
    return (role->uses & PV_USE_VECTOR) != 0;
}

/* Where in pv_layer_weights the order of a matrix's columns goes; SIZE_MAX: its activations come in no other. */
size_t pv_role_order(const pv_role *role);

#endif
