/* A .mlpackage: a folder with a Manifest.json that names the model's message and its file of weights. */
#ifndef PV_ANE_PACKAGE_H
#define PV_ANE_PACKAGE_H

#include "backend/ane/proto.h"

#define PV_ANE_PATH 1024
#define PV_ANE_WEIGHTS "Data/com.apple.CoreML/weights/weight.bin"

/* Makes the folders, which may be there already. Errors: PV_IO, PV_INVALID_ARGUMENT (the path is too long). */
pv_status pv_ane_package_create(const char *folder, pv_error *error);
/* `folder`/`file`. */
void pv_ane_package_path(const char *folder, const char *file, char path[PV_ANE_PATH + 64]);
/* Adds the model's message and the manifest; the file of weights is the caller's to write. */
pv_status pv_ane_package_finish(const pv_allocator *allocator, const char *folder, const pv_proto *model, pv_error *error);
/* Removes what the functions above made. */
void pv_ane_package_remove(const char *folder);

#endif
