#include "hsmkms/admin/table.h"

#include <string.h>

#define NAME_MOST   64
#define ARN_MOST    2048
#define POLICY_MOST 131072
#define EXPORT_MOST ((size_t)8 << 20)

/* clang-format off */
const struct admin_field admin_fields[] = {
    /* name             option         word       source      max */
    { "AccessKeyId",    NULL,          "ID",      ADMIN_TEXT, 128 },
    { "Account",        "account",     "ID",      ADMIN_TEXT, 12 },
    { "AccountId",      NULL,          "ID",      ADMIN_TEXT, 12 },
    { "Action",         "action",      "ACTION",  ADMIN_TEXT, 128 },
    { "As",             "as",          "ARN",     ADMIN_TEXT, ARN_MOST },
    { "Certificate",    NULL,          "HEX",     ADMIN_TEXT, 64 },
    { "Context",        "context",     "NAME=VALUE", ADMIN_LIST, 4096 },
    { "Days",           "days",        "DAYS",    ADMIN_TEXT, 8 },
    { "Document",       NULL,          "FILE",    ADMIN_FILE, EXPORT_MOST },
    { "Foreign",        "foreign",     "",        ADMIN_FLAG, 4 },
    { "KeyId",          NULL,          "KEY",     ADMIN_TEXT, ARN_MOST },
    { "Key",            "key",         "KEY",     ADMIN_TEXT, ARN_MOST },
    { "Kind",           "kind",        "identity|key|trust", ADMIN_TEXT, 16 },
    { "Label",          "label",       "TEXT",    ADMIN_TEXT, 128 },
    { "MaxSession",     "max-session", "SECONDS", ADMIN_TEXT, 16 },
    { "Minutes",        "for",         "MINUTES", ADMIN_TEXT, 16 },
    { "Path",           "path",        "PATH",    ADMIN_TEXT, 512 },
    { "PolicyArn",      NULL,          "ARN",     ADMIN_TEXT, ARN_MOST },
    { "PolicyDocument", NULL,          "FILE",    ADMIN_FILE, POLICY_MOST },
    { "PolicyName",     "name",        "NAME",    ADMIN_TEXT, 128 },
    { "RoleName",       "role",        "NAME",    ADMIN_TEXT, NAME_MOST },
    { "SourceIp",       "source-ip",   "ADDRESS", ADMIN_TEXT, 64 },
    { "TagKey",         NULL,          "KEY",     ADMIN_TEXT, 512 },
    { "TagValue",       NULL,          "VALUE",   ADMIN_TEXT, 1024 },
    { "TokenId",        NULL,          "ID",      ADMIN_TEXT, 36 },
    { "TrustPolicy",    "trust",       "FILE",    ADMIN_FILE, POLICY_MOST },
    { "UserName",       "user",        "NAME",    ADMIN_TEXT, NAME_MOST },
};
const size_t admin_field_count = ARRAY_LEN(admin_fields);

#define WHOSE "UserName", "RoleName", "Account"

const struct admin_row admin_rows[] = {
    /* name               audited as                words                              options                               help */
    { "status",           NULL,                     { NULL },                          { NULL },                             "show the state of token, audit trail and store" },

    { "account add",      "AddAccount",             { "AccountId" },                   { "Foreign" },                        "let principals of an account sign; --foreign: let key policies name it" },
    { "account remove",   "RemoveAccount",          { "AccountId" },                   { NULL },                             "forget an account that has no users and roles" },
    { "account list",     NULL,                     { NULL },                          { NULL },                             "show all accounts" },
    { "root enable",      "EnableRoot",             { NULL },                          { "Minutes", "Account" },             "let the account root sign, for some minutes or for good" },
    { "root disable",     "DisableRoot",            { NULL },                          { "Account" },                        "refuse the account root" },

    { "user create",      "CreateUser",             { "UserName" },                    { "Path", "Account" },                "make a user" },
    { "user delete",      "DeleteUser",             { "UserName" },                    { "Account" },                        "delete a user that has no access keys" },
    { "user enable",      "EnableUser",             { "UserName" },                    { "Account" },                        "let a user sign again" },
    { "user disable",     "DisableUser",            { "UserName" },                    { "Account" },                        "refuse a user's access keys and sessions" },
    { "user show",        NULL,                     { "UserName" },                    { "Account" },                        "show a user with its policies and tags" },
    { "user list",        NULL,                     { NULL },                          { NULL },                             "show all users" },

    { "role create",      "CreateRole",             { "RoleName" },                    { "TrustPolicy", "Path", "MaxSession", "Account" }, "make a role" },
    { "role delete",      "DeleteRole",             { "RoleName" },                    { "Account" },                        "delete a role" },
    { "role enable",      "EnableRole",             { "RoleName" },                    { "Account" },                        "let a role's sessions sign again" },
    { "role disable",     "DisableRole",            { "RoleName" },                    { "Account" },                        "refuse a role's sessions" },
    { "role show",        NULL,                     { "RoleName" },                    { "Account" },                        "show a role with its policies and tags" },
    { "role list",        NULL,                     { NULL },                          { NULL },                             "show all roles" },
    { "role trust",       "UpdateAssumeRolePolicy", { "RoleName", "PolicyDocument" },  { "Account" },                        "say who may assume a role" },
    { "role max-session", "UpdateRole",             { "RoleName" },                    { "MaxSession", "Account" },          "say how long its sessions may last" },

    { "policy put",       "PutPolicy",              { "PolicyDocument" },              { WHOSE, "PolicyName" },              "add or replace an inline policy of a user or role" },
    { "policy get",       NULL,                     { NULL },                          { WHOSE, "PolicyName" },              "show an inline policy" },
    { "policy delete",    "DeletePolicy",           { NULL },                          { WHOSE, "PolicyName" },              "remove an inline policy" },
    { "policy create",    "CreatePolicy",           { "PolicyDocument" },              { "PolicyName", "Path", "Account" },  "make or replace a managed policy" },
    { "policy remove",    "DeleteManagedPolicy",    { "PolicyArn" },                   { NULL },                             "delete a managed policy that is attached nowhere" },
    { "policy list",      NULL,                     { NULL },                          { NULL },                             "show all managed policies" },
    { "attach",           "AttachPolicy",           { "PolicyArn" },                   { WHOSE },                            "attach a managed policy to a user or role" },
    { "detach",           "DetachPolicy",           { "PolicyArn" },                   { WHOSE },                            "take it away again" },
    { "boundary set",     "PutPermissionsBoundary", { "PolicyArn" },                   { WHOSE },                            "limit what identity policies can give" },
    { "boundary clear",   "DeletePermissionsBoundary", { NULL },                       { WHOSE },                            "lift the limit" },
    { "tag set",          "TagPrincipal",           { "TagKey", "TagValue" },          { WHOSE },                            "set a tag of a user or role" },
    { "tag remove",       "UntagPrincipal",         { "TagKey" },                      { WHOSE },                            "remove a tag" },
    { "revoke-sessions",  "RevokeSessions",         { NULL },                          { WHOSE },                            "end every session issued until now" },

    { "key create",       "CreateAccessKey",        { NULL },                          { "UserName", "Account" },            "make an access key for a user or the account root" },
    { "key disable",      "UpdateAccessKey",        { "AccessKeyId" },                 { NULL },                             "refuse requests signed with an access key" },
    { "key enable",       "UpdateAccessKey",        { "AccessKeyId" },                 { NULL },                             "accept them again" },
    { "key delete",       "DeleteAccessKey",        { "AccessKeyId" },                 { NULL },                             "delete a disabled access key" },
    { "key list",         NULL,                     { NULL },                          { NULL },                             "show all access keys, without their secrets" },

    { "cert bind",        "BindCertificate",        { "Certificate" },                 { "UserName", "Account", "Label" },   "let the holder of a client certificate's key act as a user" },
    { "cert unbind",      "UnbindCertificate",      { "Certificate" },                 { NULL },                             "end that" },
    { "cert list",        NULL,                     { NULL },                          { NULL },                             "show which certificates stand for whom" },

    { "token create",     "CreateToken",            { NULL },                          { "UserName", "Account", "Label", "Days" }, "make a bearer token for a user or the account root" },
    { "token disable",    "UpdateToken",            { "TokenId" },                     { NULL },                             "refuse a token, or a secret and the tokens it was exchanged for" },
    { "token enable",     "UpdateToken",            { "TokenId" },                     { NULL },                             "accept it again" },
    { "token delete",     "DeleteToken",            { "TokenId" },                     { NULL },                             "delete a token or secret" },
    { "token list",       NULL,                     { NULL },                          { NULL },                             "show all tokens and secrets, without their texts" },
    { "secret create",    "CreateSecret",           { NULL },                          { "UserName", "Account", "Label", "Days" }, "make a secret for AppRole logins as a user or the account root" },

    { "key-uses",         NULL,                     { "KeyId" },                       { NULL },                             "show the versions of a key: last uses, and what the token leaves to us" },
    { "key-policy reset", "ResetKeyPolicy",         { "KeyId" },                       { NULL },                             "give a key its default policy back" },
    { "explain",          NULL,                     { NULL },                          { "As", "Action", "Key", "Context", "SourceIp" }, "say why something is allowed or not" },
    { "lint",             NULL,                     { "PolicyDocument" },              { "Kind" },                           "check a policy without storing it" },
    { "export",           NULL,                     { NULL },                          { NULL },                             "show all users, roles and policies, without secrets" },
    { "import",           "ImportPrincipals",       { "Document" },                    { "Account" },                        "add users, roles and policies that export, or AWS, wrote" },
};
/* clang-format on */
const size_t admin_row_count = ARRAY_LEN(admin_rows);

const struct admin_row *admin_row_find(const char *name)
{
    for (size_t i = 0; i < admin_row_count; i++)
        if (strcmp(admin_rows[i].name, name) == 0)
            return &admin_rows[i];
    return NULL;
}

const struct admin_field *admin_field_find(const char *name)
{
    for (size_t i = 0; i < admin_field_count; i++)
        if (strcmp(admin_fields[i].name, name) == 0)
            return &admin_fields[i];
    return NULL;
}

bool admin_row_has(const struct admin_row *row, const char *field)
{
    for (size_t i = 0; i < ARRAY_LEN(row->words) && row->words[i]; i++)
        if (strcmp(row->words[i], field) == 0)
            return true;
    for (size_t i = 0; i < ARRAY_LEN(row->options) && row->options[i]; i++)
        if (strcmp(row->options[i], field) == 0)
            return true;
    return false;
}
