/* What MLX's files call differently: all experts of a layer are one tensor, [expert, out, in], gate and up apart. */
#ifndef PV_MODEL_MLX_NAMES_H
#define PV_MODEL_MLX_NAMES_H

#include "model/architecture.h"

/* The role's name in MLX's files, if it has another there and the source has that tensor; else false, and `name` stays as it is. */
bool pv_mlx_name(const pv_source *source, const pv_role *role, uint32_t layer, char name[128]);

#endif
