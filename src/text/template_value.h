/* The template's values: what Python would hold while it renders, reduced to what JSON and the template language can make.
 * All memory of a rendering lies in one arena; nothing is freed before its end, so values are passed as they are. */
#ifndef PV_TEXT_TEMPLATE_VALUE_H
#define PV_TEXT_TEMPLATE_VALUE_H

#include "text/template.h"

/* Values nested deeper than this are neither printed nor compared: bounds the C stack. */
#define TMPL_MAX_VALUE_DEPTH 100
/* Evaluations inside each other, over all macros: bounds the C stack. */
#define TMPL_MAX_DEPTH 800
/* The limit of steps bounds time, so a step stands for at most some ten nanoseconds. What takes longer costs more of them: */
/* Bytes that bulk work (copying, searching, counting) handles for one step. */
#define TMPL_BYTES_PER_STEP 32
/* Bytes that are looked at one by one, or as characters. */
#define TMPL_BYTES_PER_SLOW_STEP 4
/* Bytes of memory that a rendering takes from the allocator: the system clears them and takes them back. */
#define TMPL_MEMORY_PER_STEP 32
/* A number that is read or written by the C library, beside one for each of its digits. */
#define TMPL_NUMBER_STEPS 32

typedef struct tmpl_run tmpl_run;
typedef struct tmpl_builtin tmpl_builtin;
typedef struct tmpl_iterator tmpl_iterator;
typedef struct tmpl_loop tmpl_loop;
typedef struct tmpl_macro tmpl_macro;

/* ---- Arena ---- */

typedef struct tmpl_arena {
    const pv_allocator *allocator;
    struct tmpl_chunk *chunks;
    char *at, *end;  /* what is left of the newest shared chunk */
    size_t total;    /* bytes held from the allocator, the output's buffer included */
    size_t limit;
    uint64_t *steps; /* charged for memory, or NULL */
    bool over_limit; /* why the last allocation failed */
} tmpl_arena;

void tmpl_arena_init(tmpl_arena *arena, const pv_allocator *allocator, size_t limit);
void tmpl_arena_free(tmpl_arena *arena);
/* Aligned to 16 bytes, uninitialised; NULL if memory runs out or the limit is reached. */
void *tmpl_arena_alloc(tmpl_arena *arena, size_t size);
/* Resizes; the old memory is not to be used afterwards. */
void *tmpl_arena_grow(tmpl_arena *arena, void *pointer, size_t old_size, size_t new_size);

/* ---- Values ---- */

typedef enum tmpl_type {
    TMPL_MISSING, /* a variable without a value, an argument that was not given */
    TMPL_UNDEFINED,
    TMPL_NONE,
    TMPL_BOOL,
    TMPL_INT,
    TMPL_BIGINT, /* an integer from JSON beyond 64 bits: `string` is its spelling; may be printed and compared for equality */
    TMPL_FLOAT,
    TMPL_STRING,
    TMPL_LIST,
    TMPL_TUPLE,
    TMPL_DICT,
    TMPL_NAMESPACE,
    TMPL_RANGE,
    TMPL_VIEW,     /* dict.keys(), .values(), .items() */
    TMPL_ITERATOR, /* what map, select, items and reverse give: can be gone through once */
    TMPL_MACRO,
    TMPL_FUNCTION,
    TMPL_METHOD,
    TMPL_LOOP,
    TMPL_TYPE_COUNT
} tmpl_type;

/* What is undefined, for the message when it is used. */
enum { TMPL_UNDEFINED_HINT, TMPL_UNDEFINED_NAME, TMPL_UNDEFINED_ATTRIBUTE, TMPL_UNDEFINED_UNSAFE };
enum { TMPL_VIEW_KEYS, TMPL_VIEW_VALUES, TMPL_VIEW_ITEMS };

typedef struct tmpl_string {
    const char *data;
    size_t length;
    size_t characters;    /* SIZE_MAX until counted */
    const pv_span *spans; /* bytes that are input; in order, not touching */
    uint32_t span_count;
    bool marked;          /* all of it is input; spans is not used then */
    bool safe;            /* came out of `safe` or `escape`: adding to it escapes the other side */
    struct tmpl_tail *tail; /* the buffer that ends with this string, or NULL */
} tmpl_string;

typedef struct tmpl_value {
    uint8_t type;
    uint8_t detail; /* UNDEFINED, VIEW: which of the enums above */
    uint8_t object; /* UNDEFINED: the type that lacked the attribute */
    union {
        bool boolean;
        int64_t integer;
        double real;
        tmpl_string *string; /* also the name of what is undefined */
        const char *hint;
        struct tmpl_list *list;
        struct tmpl_dict *dict; /* DICT, NAMESPACE, VIEW */
        struct tmpl_range *range;
        tmpl_iterator *iterator;
        tmpl_macro *macro;
        const tmpl_builtin *function;
        struct tmpl_method *method;
        tmpl_loop *loop;
    };
} tmpl_value;

typedef struct tmpl_list {
    tmpl_value *items;
    size_t count, capacity;
} tmpl_list;

typedef struct tmpl_entry {
    tmpl_value key, value;
    uint64_t hash;
} tmpl_entry;

/* Keeps insertion order. */
typedef struct tmpl_dict {
    tmpl_entry *entries;
    size_t count, capacity;
    uint32_t *index; /* open addressing over entries, from 9 entries on; 0 is empty, else entry + 1 */
    size_t index_size;
} tmpl_dict;

typedef struct tmpl_range {
    int64_t start, stop, step, count; /* stop: as it was written, for printing */
} tmpl_range;

typedef struct tmpl_method {
    tmpl_value self;
    const tmpl_builtin *function;
} tmpl_method;

static inline tmpl_value tmpl_none(void) { return (tmpl_value){.type = TMPL_NONE}; }
static inline tmpl_value tmpl_bool(bool value) { return (tmpl_value){.type = TMPL_BOOL, .boolean = value}; }
static inline tmpl_value tmpl_int(int64_t value) { return (tmpl_value){.type = TMPL_INT, .integer = value}; }
static inline tmpl_value tmpl_float(double value) { return (tmpl_value){.type = TMPL_FLOAT, .real = value}; }
static inline tmpl_value tmpl_str(tmpl_string *string) { return (tmpl_value){.type = TMPL_STRING, .string = string}; }
static inline tmpl_value tmpl_undefined(const char *hint)
{
    return (tmpl_value){.type = TMPL_UNDEFINED, .detail = TMPL_UNDEFINED_HINT, .hint = hint};
}

/* ---- A rendering ---- */

typedef struct tmpl_builder tmpl_builder;

struct tmpl_run {
    tmpl_arena arena;
    pv_error *error;
    uint64_t steps;
    uint32_t line;       /* of the statement or call at work */
    uint32_t depth;      /* of nested evaluations */
    uint32_t calls;      /* of nested macros */
    int64_t now;
    tmpl_builder *out;   /* where {{ }} writes */
    tmpl_value *globals; /* of each name in the template: its value from outside, or MISSING */
    tmpl_value *stack;   /* arguments of the calls at work */
    size_t stack_used;
    tmpl_value captured; /* what the innermost {% set %} or {% filter %} block wrote */
    struct tmpl_frame *free_frames[17]; /* by the logarithm of their slots */
    tmpl_string *single[2][128]; /* one-character strings, unmarked and marked, made when first needed */
};

/* PV_BAD_TEMPLATE with the line at work. */
pv_status tmpl_fail(tmpl_run *run, const char *format, ...) PV_PRINTF(2, 3);
#define tmpl_fail(...) pv_surely_failed((tmpl_fail)(__VA_ARGS__))
/* After an allocation gave NULL: PV_OUT_OF_MEMORY, or PV_BAD_TEMPLATE if the template took more than it may. */
pv_status tmpl_no_memory(tmpl_run *run);
pv_status tmpl_too_long(tmpl_run *run);
pv_status tmpl_too_deep(tmpl_run *run);
/* "'x' is undefined", "'dict' has no attribute 'x'". */
pv_status tmpl_use_undefined(tmpl_run *run, tmpl_value undefined);

static inline pv_status tmpl_charge(tmpl_run *run, size_t steps)
{
    run->steps += steps;
    return run->steps > PV_TEMPLATE_MAX_STEPS ? tmpl_too_long(run) : PV_OK;
}
static inline pv_status tmpl_charge_bytes(tmpl_run *run, size_t bytes)
{
    return tmpl_charge(run, 1 + bytes / TMPL_BYTES_PER_STEP);
}
static inline pv_status tmpl_charge_slow_bytes(tmpl_run *run, size_t bytes)
{
    return tmpl_charge(run, 1 + bytes / TMPL_BYTES_PER_SLOW_STEP);
}
/* How many of `bytes` may still be gone through one by one: fewer than all where charging for them will fail. */
static inline size_t tmpl_slow_bytes_left(const tmpl_run *run, size_t bytes)
{
    const uint64_t left = run->steps < PV_TEMPLATE_MAX_STEPS ? PV_TEMPLATE_MAX_STEPS - run->steps : 0;
    const uint64_t most = (left + 1) * TMPL_BYTES_PER_SLOW_STEP;
    return bytes < most ? bytes : (size_t)most;
}

/* "str", "dict": Python's names. */
const char *tmpl_type_name(uint8_t type);

/* ---- Lists and dictionaries ---- */

pv_status tmpl_new_list(tmpl_run *run, uint8_t type, size_t capacity, tmpl_value *out);
pv_status tmpl_list_add(tmpl_run *run, tmpl_list *list, tmpl_value value);
pv_status tmpl_new_pair(tmpl_run *run, tmpl_value first, tmpl_value second, tmpl_value *out);
pv_status tmpl_new_dict(tmpl_run *run, uint8_t type, tmpl_value *out);
/* Sets or replaces; a key that Python cannot hash fails. */
pv_status tmpl_dict_set(tmpl_run *run, tmpl_dict *dict, tmpl_value key, tmpl_value value);
/* *found is NULL if the key is not there or not hashable. */
pv_status tmpl_dict_find(tmpl_run *run, const tmpl_dict *dict, tmpl_value key, tmpl_value **found, bool *hashable);
tmpl_value *tmpl_dict_get(tmpl_run *run, const tmpl_dict *dict, const char *key, size_t length);
pv_status tmpl_hash(tmpl_run *run, tmpl_value value, uint64_t *hash, bool *hashable);

/* ---- Comparing ---- */

bool tmpl_truth(tmpl_value value);
pv_status tmpl_equal(tmpl_run *run, tmpl_value a, tmpl_value b, bool *equal);
/* a < b as Python orders them; fails where Python raises TypeError. */
pv_status tmpl_less(tmpl_run *run, tmpl_value a, tmpl_value b, bool *less);
/* Stable sort of `count` items by keys; both arrays are permuted. */
pv_status tmpl_sort(tmpl_run *run, tmpl_value *keys, tmpl_value *items, size_t count, bool reverse);

/* ---- Strings ---- */

/* Refers to `data`, which must outlive the rendering; unmarked. NULL if memory runs out. */
tmpl_string *tmpl_new_string(tmpl_run *run, const char *data, size_t length);
pv_status tmpl_text(tmpl_run *run, const char *data, size_t length, tmpl_value *out);
pv_status tmpl_copy_text(tmpl_run *run, const char *data, size_t length, tmpl_value *out);
/* Bytes [from, to), marks kept, nothing copied. */
pv_status tmpl_substring(tmpl_run *run, const tmpl_string *string, size_t from, size_t to, tmpl_value *out);
/* The character that starts at byte `from`; *next is where the following one starts. */
pv_status tmpl_character(tmpl_run *run, const tmpl_string *string, size_t from, size_t *next, tmpl_value *out);
pv_status tmpl_characters(tmpl_run *run, tmpl_string *string, size_t *count);
/* Byte offset of a character; `index` may be the number of characters. */
pv_status tmpl_offset(tmpl_run *run, tmpl_string *string, size_t index, size_t *offset);
pv_status tmpl_concat(tmpl_run *run, const tmpl_string *a, const tmpl_string *b, tmpl_value *out);
bool tmpl_is_marked(const tmpl_string *string, size_t offset);
bool tmpl_any_marked(const tmpl_string *string);
bool tmpl_same_text(const tmpl_string *a, const tmpl_string *b);
/* The last place of a byte in [from, end), or SIZE_MAX. */
static inline size_t tmpl_last_byte(const tmpl_string *string, size_t from, size_t end, char byte)
{
    while (end > from) {
        if (string->data[--end] == byte) return end;
    }
    return SIZE_MAX;
}
static inline bool tmpl_is_text(const tmpl_string *string, const char *text)
{
    return string->length == __builtin_strlen(text) && __builtin_memcmp(string->data, text, string->length) == 0;
}

/* For "%.*s" in messages: at most 100 bytes, whole characters. */
static inline int tmpl_shown(const tmpl_string *string)
{
    return (int)pv_utf8_complete(string->data, string->length < 100 ? string->length : 100);
}

/* Text that is being put together, with its marks. */
struct tmpl_builder {
    tmpl_run *run;
    char *data;
    size_t length, capacity;
    pv_span *spans;
    size_t span_count, span_capacity;
    bool root;        /* the rendering's output: memory straight from the allocator */
    bool safe;
    pv_status status; /* the first failure; later additions do nothing: check once at the end */
};
void tmpl_builder_init(tmpl_builder *builder, tmpl_run *run);
void tmpl_add(tmpl_builder *builder, const char *data, size_t length, bool marked);
void tmpl_add_part(tmpl_builder *builder, const tmpl_string *string, size_t from, size_t to);
static inline void tmpl_add_string(tmpl_builder *builder, const tmpl_string *string)
{
    tmpl_add_part(builder, string, 0, string->length);
}
void tmpl_add_char(tmpl_builder *builder, uint32_t code_point, bool marked);
void tmpl_add_escaped(tmpl_builder *builder, const tmpl_string *string); /* for HTML */
pv_status tmpl_finish(tmpl_builder *builder, tmpl_value *out);

/* ---- Printing ---- */

/* str(value), repr(value), json.dumps(value). */
void tmpl_add_str(tmpl_builder *builder, tmpl_value value);
void tmpl_add_repr(tmpl_builder *builder, tmpl_value value);
pv_status tmpl_to_string(tmpl_run *run, tmpl_value value, tmpl_string **out);
/* Shortest digits that read back the same, as Python's repr; `text` holds at least 32 bytes. Returns the steps it is worth. */
size_t tmpl_format_float(double value, char *text);
/* In decimal; `text` holds at least 24 bytes. Returns the length. */
size_t tmpl_format_integer(int64_t value, char *text);
/* A number in Python's spelling, the whole of text[0..length); independent of the locale. */
bool tmpl_parse_float(const char *text, size_t length, double *value);

typedef struct tmpl_json_style {
    bool ascii, sort_keys, pretty;
    const tmpl_string *indent; /* put before each level if pretty */
    const tmpl_string *item_separator, *key_separator; /* NULL: the default */
} tmpl_json_style;
pv_status tmpl_add_json(tmpl_builder *builder, tmpl_value value, const tmpl_json_style *style);

/* Reads a whole JSON object; strings below the named members are marked. `text` must outlive the rendering. */
pv_status tmpl_read_variables(tmpl_run *run, const char *text, size_t length, const char *const *input_names, tmpl_value *out);

#endif
