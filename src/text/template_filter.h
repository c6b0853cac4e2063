/* Filters over sequences, for the table in template_filter.c. */
#ifndef PV_TEXT_TEMPLATE_FILTER_H
#define PV_TEXT_TEMPLATE_FILTER_H

#include "text/template_eval.h"

/* Neither left out nor none. */
bool tmpl_given(tmpl_value value);
pv_status tmpl_want_integer(tmpl_run *run, tmpl_value value, int64_t otherwise, int64_t *integer);

/* "a.b.0": names and numbers to look up one after the other. */
typedef struct tmpl_path {
    tmpl_value *parts;
    size_t count;
    tmpl_value otherwise; /* for what is undefined on the way, or MISSING */
    bool lower;           /* strings that are found compare without case */
} tmpl_path;
pv_status tmpl_make_path(tmpl_run *run, tmpl_value attribute, tmpl_path *path);
pv_status tmpl_follow_path(tmpl_run *run, const tmpl_path *path, tmpl_value item, tmpl_value *out);

/* Kinds of tmpl_filter_apply; none of them is select. */
enum { TMPL_SELECT_REJECT = 1, TMPL_SELECT_ATTRIBUTE = 2, TMPL_SELECT_MAP = 4 };

/* template_filter_lazy.c: these give iterators. */
pv_status tmpl_filter_apply(tmpl_run *run, const tmpl_input *input, tmpl_value *out);
pv_status tmpl_filter_items(tmpl_run *run, const tmpl_input *input, tmpl_value *out);
pv_status tmpl_filter_unique(tmpl_run *run, const tmpl_input *input, tmpl_value *out);
pv_status tmpl_filter_reverse(tmpl_run *run, const tmpl_input *input, tmpl_value *out);
pv_status tmpl_filter_batch(tmpl_run *run, const tmpl_input *input, tmpl_value *out);
pv_status tmpl_filter_slice(tmpl_run *run, const tmpl_input *input, tmpl_value *out);

/* template_filter_list.c */
pv_status tmpl_filter_length(tmpl_run *run, const tmpl_input *input, tmpl_value *out);
pv_status tmpl_filter_list(tmpl_run *run, const tmpl_input *input, tmpl_value *out);
pv_status tmpl_filter_first(tmpl_run *run, const tmpl_input *input, tmpl_value *out);
pv_status tmpl_filter_last(tmpl_run *run, const tmpl_input *input, tmpl_value *out);
pv_status tmpl_filter_join(tmpl_run *run, const tmpl_input *input, tmpl_value *out);
pv_status tmpl_filter_sort(tmpl_run *run, const tmpl_input *input, tmpl_value *out);
pv_status tmpl_filter_dictsort(tmpl_run *run, const tmpl_input *input, tmpl_value *out);
pv_status tmpl_filter_groupby(tmpl_run *run, const tmpl_input *input, tmpl_value *out);
pv_status tmpl_filter_extreme(tmpl_run *run, const tmpl_input *input, tmpl_value *out);
pv_status tmpl_filter_sum(tmpl_run *run, const tmpl_input *input, tmpl_value *out);

#endif
