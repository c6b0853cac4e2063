#include "backend/ane/package.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"

/* The two items may have any names that differ. */
static const char manifest[] = "{\n"
                               "    \"fileFormatVersion\": \"1.0.0\",\n"
                               "    \"itemInfoEntries\": {\n"
                               "        \"5E1F0A36-0000-4000-8000-000000000001\": {\n"
                               "            \"author\": \"com.apple.CoreML\",\n"
                               "            \"description\": \"CoreML Model Specification\",\n"
                               "            \"name\": \"model.mlmodel\",\n"
                               "            \"path\": \"com.apple.CoreML/model.mlmodel\"\n"
                               "        },\n"
                               "        \"5E1F0A36-0000-4000-8000-000000000002\": {\n"
                               "            \"author\": \"com.apple.CoreML\",\n"
                               "            \"description\": \"CoreML Model Weights\",\n"
                               "            \"name\": \"weights\",\n"
                               "            \"path\": \"com.apple.CoreML/weights\"\n"
                               "        }\n"
                               "    },\n"
                               "    \"rootModelIdentifier\": \"5E1F0A36-0000-4000-8000-000000000001\"\n"
                               "}\n";

static const char *const folders[] = {"", "Data", "Data/com.apple.CoreML", "Data/com.apple.CoreML/weights"};
static const char *const files[] = {"Manifest.json", "Data/com.apple.CoreML/model.mlmodel", PV_ANE_WEIGHTS};
#define FOLDERS (sizeof folders / sizeof folders[0])
#define FILES (sizeof files / sizeof files[0])

void pv_ane_package_path(const char *folder, const char *file, char path[PV_ANE_PATH + 64])
{
    snprintf(path, PV_ANE_PATH + 64, "%s%s%s", folder, file[0] != 0 ? "/" : "", file);
}

pv_status pv_ane_package_create(const char *folder, pv_error *error)
{
    char path[PV_ANE_PATH + 64];
    if (strlen(folder) >= PV_ANE_PATH) {
        return pv_fail_at(error, PV_INVALID_ARGUMENT, "ane", PV_NO_OFFSET, "a folder's name of %zu bytes; %d are the most",
                          strlen(folder), PV_ANE_PATH - 1);
    }
    for (size_t i = 0; i < FOLDERS; i++) {
        pv_ane_package_path(folder, folders[i], path);
        if (mkdir(path, 0777) != 0 && errno != EEXIST) {
            return pv_fail_at(error, PV_IO, "ane", PV_NO_OFFSET, "cannot make the folder %s: %s", path, strerror(errno));
        }
    }
    return PV_OK;
}

static pv_status write_file(const pv_allocator *allocator, const char *folder, const char *file, const void *bytes,
                            size_t length, pv_error *error)
{
    char path[PV_ANE_PATH + 64];
    pv_writer writer;
    pv_ane_package_path(folder, file, path);
    pv_status status = pv_writer_open(allocator, path, &writer, error);
    if (status != PV_OK) return status;
    status = pv_writer_write(&writer, bytes, length, error);
    if (status == PV_OK) return pv_writer_commit(&writer, error);
    pv_writer_discard(&writer);
    return status;
}

pv_status pv_ane_package_finish(const pv_allocator *allocator, const char *folder, const pv_proto *model, pv_error *error)
{
    const pv_status status = write_file(allocator, folder, files[1], model->bytes, model->length, error);
    return status == PV_OK ? write_file(allocator, folder, files[0], manifest, sizeof manifest - 1, error) : status;
}

void pv_ane_package_remove(const char *folder)
{
    char path[PV_ANE_PATH + 64];
    for (size_t i = 0; i < FILES; i++) {
        pv_ane_package_path(folder, files[i], path);
        unlink(path);
    }
    for (size_t i = FOLDERS; i-- > 0;) {
        pv_ane_package_path(folder, folders[i], path);
        rmdir(path);
    }
}
