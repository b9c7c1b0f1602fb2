//! What permissions stand for: RingCentral's hierarchy, and LiveChat's names of 2018.

use std::collections::BTreeSet;

use grantgate::catalogue::Catalogue;
use grantgate::model::{Operation, Requirement};
use grantgate::vendor::Vendor;

fn catalogue(vendor: Vendor) -> Catalogue {
    Catalogue::parse(vendor.bundled_catalogue()).unwrap()
}

/// Every app permission, with what it includes by the permissions page and the account guide.
const RINGCENTRAL: [(&str, &str); 53] = [
    ("A2PSMS", "-"),
    ("Accounts", "EditAccounts EditExtensions ReadAccounts"),
    ("AI", "-"),
    ("AIInternal", "-"),
    ("Analytics", "-"),
    ("CallControl", "-"),
    ("Contacts", "ReadContacts"),
    ("ControlWebinars", "-"),
    ("DirectRingOut", "-"),
    ("EditAccounts", "EditExtensions ReadAccounts"),
    ("EditCallLog", "ReadCallLog"),
    ("EditCustomData", "-"),
    ("EditExtensions", "ReadAccounts"),
    ("EditMessages", "ReadMessages"),
    ("EditPaymentInfo", "-"),
    ("EditPresence", "ReadPresence"),
    ("EditReportingSettings", "-"),
    ("EditUserCredentials", "-"),
    ("EditWebinars", "-"),
    ("Faxes", "ReadMessages"),
    ("Glip", "-"),
    ("GlipInternal", "-"),
    ("InternalMessages", "ReadMessages"),
    ("Interoperability", "-"),
    ("Meetings", "-"),
    ("NumberLookup", "-"),
    ("ReadAccounts", "-"),
    ("ReadAuditTrail", "-"),
    ("ReadCallLog", "-"),
    ("ReadCallRecording", "ReadCallLog"),
    ("ReadClientInfo", "-"),
    ("ReadContacts", "-"),
    ("ReadMessages", "-"),
    ("ReadPresence", "-"),
    ("ReadWebinars", "-"),
    ("RingOut", "-"),
    ("RingSense", "-"),
    ("RoleManagement", "-"),
    ("SMS", "ReadMessages"),
    ("SocialMessaging", "-"),
    ("SubscriptionAPNS", "-"),
    ("SubscriptionWebhook", "-"),
    ("SubscriptionWebSocket", "-"),
    ("TeamMessaging", "-"),
    ("TeamMessagingInternal", "-"),
    ("TelephonySessions", "-"),
    ("UnifiedAppDesktop", "-"),
    ("Video", "-"),
    ("VideoInternal", "-"),
    ("Voicemail", "-"),
    ("VoipCalling", "-"),
    ("WebSocket", "-"),
    ("WebSocketsSubscription", "-"),
];

/// Spellings of one permission.
const ALIASES: [&[&str]; 5] = [
    &["A2P SMS", "A2PSMS"],
    &[
        "SubscriptionWebSocket",
        "WebSocket",
        "WebSocketsSubscription",
        "WebSocketsSubscriptions",
    ],
    &["Glip", "TeamMessaging"],
    &["Meetings", "Video"],
    &["SubscriptionWebhook", "WebhookSubscriptions"],
];

#[test]
fn every_permission_of_ringcentral_holds_what_it_includes() {
    let catalogue = catalogue(Vendor::RingCentral);
    for (permission, includes) in RINGCENTRAL {
        assert!(catalogue.has_scope(permission), "{permission}");
        let holding = Vendor::RingCentral.holding(&catalogue, [permission]);
        let held: BTreeSet<&str> = holding.opens().iter().collect();
        let mut expected: BTreeSet<&str> = includes.split(' ').filter(|one| *one != "-").collect();
        expected.insert(permission);
        let spellings = ALIASES.iter().find(|group| group.contains(&permission));
        expected.extend(spellings.into_iter().copied().flatten());
        if permission == "Voicemail" {
            expected.insert("VoicemailBroadcasting");
        }
        assert_eq!(held, expected, "{permission}");
    }
}

/// LiveChat's scopes of 2018, with the role that could give each.
const LIVECHAT_OF_2018: [(&str, &str); 26] = [
    ("chats--all:read", "normal"),
    ("chats--my:read", "normal"),
    ("chats.conversation--all:write", "normal"),
    ("chats.conversation--my:write", "normal"),
    ("chats.meta--all:write", "administrator"),
    ("chats.meta--my:write", "normal"),
    ("multicast:write", "normal"),
    ("customers.ban:write", "normal"),
    ("customers.identity--manage", "administrator"),
    ("customers:read", "normal"),
    ("customers:write", "normal"),
    ("agents--my:write", "normal"),
    ("agents--all:write", "administrator"),
    ("auto_chat_scopes:read", "administrator"),
    ("auto_chat_scopes:write", "administrator"),
    ("properties--my:read", "administrator"),
    ("properties--my:write", "administrator"),
    ("properties--all:read", "administrator"),
    ("webhooks--my:read", "administrator"),
    ("webhooks--my:write", "administrator"),
    ("webhooks--all:read", "administrator"),
    ("webhooks--all:write", "administrator"),
    ("agents-bot--my:read", "administrator"),
    ("agents-bot--my:write", "administrator"),
    ("agents-bot--all:read", "administrator"),
    ("agents-bot--all:write", "administrator"),
];

/// Names whose successor grants more: they open only what asks for them by name.
const WIDENED: [&str; 3] = [
    "chats.meta--all:write",
    "chats.meta--my:write",
    "customers.identity--manage",
];

/// The codes that an operation's alternatives name, of those that consist of one.
fn asks_for(operation: &Operation, code: &str) -> bool {
    match &operation.requirement {
        Requirement::AnyOf(sets) => sets.iter().any(|set| set.contains(code)),
        Requirement::Conditional(alternatives) => {
            alternatives.iter().any(|one| one.scopes.contains(code))
        }
        _ => false,
    }
}

#[test]
fn an_old_code_of_livechat_opens_what_it_opened_and_never_more() {
    let catalogue = catalogue(Vendor::LiveChat);
    for (old, role) in LIVECHAT_OF_2018 {
        let info = catalogue
            .scopes()
            .iter()
            .find(|info| info.code.as_ref() == old)
            .unwrap_or_else(|| panic!("{old} has no row"));
        let permission = format!("permission: {role}");
        assert!(
            info.note.starts_with(&permission),
            "{old}: {} instead of {role}",
            info.note
        );
        let holding = Vendor::LiveChat.holding(&catalogue, [old]);
        let opens: Vec<&str> = holding.opens().iter().filter(|code| *code != old).collect();
        if WIDENED.contains(&old) {
            assert_eq!(opens, [""; 0], "{old} stands for nothing but itself");
            let recent = |operation: &&Operation| !operation.name.starts_with("chatio");
            assert_eq!(catalogue.opened_by(old).filter(recent).count(), 0, "{old}");
            continue;
        }
        let [new] = opens.as_slice() else {
            panic!("{old} stands for {opens:?}");
        };
        assert!(catalogue.has_scope(new));
        // What the new name stands for today stays closed to the old one.
        for operation in catalogue.opened_by(old) {
            assert!(
                asks_for(operation, new) || asks_for(operation, old),
                "{old} opens {}",
                operation.name
            );
        }
        let wide = catalogue.opened_by(new).count();
        let recent = catalogue
            .opened_by(old)
            .filter(|operation| !asks_for(operation, old))
            .count();
        assert!(recent <= wide, "{old}");
    }
}

#[test]
fn every_vendors_codes_are_known_and_every_requirement_names_them() {
    for vendor in Vendor::ALL {
        let catalogue = catalogue(vendor);
        let (operations, scopes) = (catalogue.operations().len(), catalogue.scopes().len());
        let least = match vendor {
            Vendor::Bitrix24 => (1716, 70),
            Vendor::RingCentral => (681, 53),
            Vendor::LiveChat => (1084, 106),
        };
        assert!(operations >= least.0 && scopes >= least.1, "{vendor:?}");
    }
}
