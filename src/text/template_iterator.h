/* Going through values. */
#ifndef PV_TEXT_TEMPLATE_ITERATOR_H
#define PV_TEXT_TEMPLATE_ITERATOR_H

#include "text/template_value.h"

/* Lazy, like Python's generators: what makes an item runs when the item is asked for. Kinds with more state begin with this. */
struct tmpl_iterator {
    pv_status (*next)(tmpl_run *run, tmpl_iterator *iterator, tmpl_value *item, bool *done);
    tmpl_value source;
    size_t at;
};

/* Fails for what cannot be iterated over. */
pv_status tmpl_iterate(tmpl_run *run, tmpl_value value, tmpl_iterator **out);
bool tmpl_is_iterable(tmpl_value value);

/* Iterators may lie over iterators: counted with the nested evaluations. */
pv_status tmpl_next(tmpl_run *run, tmpl_iterator *iterator, tmpl_value *item, bool *done);

/* A new list of all items. */
pv_status tmpl_collect(tmpl_run *run, tmpl_value value, tmpl_value *list);
/* len(value); *known is false where Python raises TypeError. */
pv_status tmpl_length(tmpl_run *run, tmpl_value value, int64_t *length, bool *known);

#endif
