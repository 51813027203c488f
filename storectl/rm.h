/* rm.h - the two halves of rm. */
#ifndef STORECTL_RM_H
#define STORECTL_RM_H

struct ctl;

/* rm -r: everything below the one prefix that was named. */
void rm_tree(struct ctl *c);

#endif
