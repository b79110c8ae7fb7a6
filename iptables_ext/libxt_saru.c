// SPDX-License-Identifier: GPL-2.0-or-later
/* iptables' and ip6tables' side of the match "saru". */
#include <stdio.h>
#include <string.h>
#include <xtables.h>

#include "xt_saru.h"

enum {
	O_ID,
	O_SENSE,
	O_MAP,
};

struct saru_word {
	const char *word;
	unsigned int value;
};

/* In the order in which they are saved and, in the kernel, hashed. */
static const struct saru_word saru_fields[] = {
	{ "src-addr", SARU_SENSE_SRC_ADDR },
	{ "dst-addr", SARU_SENSE_DST_ADDR },
	{ "src-port", SARU_SENSE_SRC_PORT },
	{ "dst-port", SARU_SENSE_DST_PORT },
	{ NULL, 0 },
};

#define SARU_FIELD_NAMES	"src-addr, dst-addr, src-port, dst-port"

/* "auto" is what a rule without --map has; it is not spoken. */
static const struct saru_word saru_maps[] = {
	{ "hash", SARU_MAP_HASH },
	{ "range", SARU_MAP_RANGE },
	{ NULL, 0 },
};

static const struct xt_option_entry saru_options[] = {
	{ .name = "id", .id = O_ID, .type = XTTYPE_UINT16,
	  .min = SARU_ID_MIN, .max = SARU_ID_MAX,
	  .flags = XTOPT_MAND | XTOPT_INVERT | XTOPT_PUT,
	  XTOPT_POINTER(struct xt_saru_mtinfo, id) },
	{ .name = "sense", .id = O_SENSE, .type = XTTYPE_STRING },
	{ .name = "map", .id = O_MAP, .type = XTTYPE_STRING },
	XTOPT_TABLEEND,
};

static void saru_help(void)
{
	printf(
"saru match options:\n"
"[!] --id number               packets whose block this director holds, by the\n"
"                              table of this id, %u to %u\n"
"    --sense field[,field...]  what a packet's block depends on: src-addr,\n"
"                              dst-addr, src-port (default), dst-port\n"
"    --map hash|range          how values become blocks (default: range for one\n"
"                              port, else hash)\n",
	       SARU_ID_MIN, SARU_ID_MAX);
}

/* Here and not in the final check: python-iptables parses saved text again before that. */
static void saru_init(struct xt_entry_match *match)
{
	struct xt_saru_mtinfo *info = (void *)match->data;

	info->sense = SARU_SENSE_SRC_PORT;
	info->map = SARU_MAP_AUTO;
}

/* Returns 0 for a word that is not there. */
static unsigned int word_value(const struct saru_word *words, const char *text, size_t length)
{
	for (; words->word; words++)
		if (strlen(words->word) == length && !memcmp(words->word, text, length))
			return words->value;
	return 0;
}

static const char *word_of(const struct saru_word *words, unsigned int value)
{
	for (; words->word; words++)
		if (words->value == value)
			return words->word;
	return "?";
}

static unsigned int parse_sense(const char *text)
{
	unsigned int sense = 0;

	for (;;) {
		size_t length = strcspn(text, ",");
		unsigned int field = word_value(saru_fields, text, length);

		if (!field)
			xtables_error(PARAMETER_PROBLEM,
				      "saru: --sense: \"%.*s\" is not a field; the fields are "
				      SARU_FIELD_NAMES, (int)length, text);
		if (sense & field)
			xtables_error(PARAMETER_PROBLEM, "saru: --sense: \"%.*s\" comes twice",
				      (int)length, text);
		sense |= field;
		if (!text[length])
			return sense;
		text += length + 1;
	}
}

static void saru_parse(struct xt_option_call *call)
{
	struct xt_saru_mtinfo *info = call->data;

	xtables_option_parse(call);
	switch (call->entry->id) {
	case O_ID:
		if (call->invert)
			info->flags |= SARU_FLAG_INVERT;
		break;
	case O_SENSE:
		info->sense = parse_sense(call->arg);
		break;
	case O_MAP:
		info->map = word_value(saru_maps, call->arg, strlen(call->arg));
		if (!info->map)
			xtables_error(PARAMETER_PROBLEM,
				      "saru: --map: \"%s\" is not a map; say hash or range",
				      call->arg);
		break;
	}
}

static bool names_one_field(unsigned int sense)
{
	return !(sense & (sense - 1));
}

static bool is_one_port(unsigned int sense)
{
	return sense == SARU_SENSE_SRC_PORT || sense == SARU_SENSE_DST_PORT;
}

static void saru_check_ipv4(struct xt_fcheck_call *call)
{
	const struct xt_saru_mtinfo *info = call->data;

	if (info->map == SARU_MAP_RANGE && !names_one_field(info->sense))
		xtables_error(PARAMETER_PROBLEM,
			      "saru: --map range divides one field, and --sense names several; "
			      "say --map hash");
}

static void saru_check_ipv6(struct xt_fcheck_call *call)
{
	const struct xt_saru_mtinfo *info = call->data;

	saru_check_ipv4(call);
	if (info->map == SARU_MAP_RANGE && !is_one_port(info->sense))
		xtables_error(PARAMETER_PROBLEM,
			      "saru: --map range cannot divide IPv6 addresses; say --map hash");
}

static void print_sense(unsigned int sense)
{
	const char *separator = "";
	const struct saru_word *field;

	for (field = saru_fields; field->word; field++) {
		if (!(sense & field->value))
			continue;
		printf("%s%s", separator, field->word);
		separator = ",";
	}
}

static void saru_print(const void *ip, const struct xt_entry_match *match, int numeric)
{
	const struct xt_saru_mtinfo *info = (const void *)match->data;
	unsigned int usual = is_one_port(info->sense) ? SARU_MAP_RANGE : SARU_MAP_HASH;

	(void)ip;
	(void)numeric;
	printf(" saru %sid %u sense ", info->flags & SARU_FLAG_INVERT ? "! " : "", info->id);
	print_sense(info->sense);
	if (info->map != SARU_MAP_AUTO && info->map != usual)
		printf(" map %s", word_of(saru_maps, info->map));
}

static void saru_save(const void *ip, const struct xt_entry_match *match)
{
	const struct xt_saru_mtinfo *info = (const void *)match->data;

	(void)ip;
	printf("%s --id %u --sense ", info->flags & SARU_FLAG_INVERT ? " !" : "", info->id);
	print_sense(info->sense);
	if (info->map != SARU_MAP_AUTO)
		printf(" --map %s", word_of(saru_maps, info->map));
}

#define SARU_MATCH(which_family, which_check) {					\
	.name		= "saru",						\
	.version	= XTABLES_VERSION,					\
	.revision	= 0,							\
	.family		= which_family,						\
	.size		= XT_ALIGN(sizeof(struct xt_saru_mtinfo)),		\
	.userspacesize	= offsetof(struct xt_saru_mtinfo, resolved_map),		\
	.help		= saru_help,						\
	.init		= saru_init,						\
	.x6_parse	= saru_parse,						\
	.x6_fcheck	= which_check,						\
	.x6_options	= saru_options,						\
	.print		= saru_print,						\
	.save		= saru_save,						\
}

static struct xtables_match saru_matches[] = {
	SARU_MATCH(NFPROTO_IPV4, saru_check_ipv4),
	SARU_MATCH(NFPROTO_IPV6, saru_check_ipv6),
};

static __attribute__((constructor)) void saru_register(void)
{
	xtables_register_matches(saru_matches, sizeof(saru_matches) / sizeof(saru_matches[0]));
}
