/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef _SARU_MATCH_H
#define _SARU_MATCH_H

int saru_match_register(void);
void saru_match_unregister(void);

#endif /* _SARU_MATCH_H */
