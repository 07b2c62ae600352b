//! `[platform]` and `[services.X.about]`

use super::Pages;
use crate::schema::table;

table! {
    /// What `/info` says about a service or the platform (CANARIE). Every text is empty by default.
    pub struct About {
        /// Its name for people.
        pub name: String = String::new(),
        /// What it does, in a sentence.
        pub synopsis: String = String::new(),
        /// Who runs it.
        pub institution: String = String::new(),
        /// When this version was released (RFC 3339).
        pub release_time: String = String::new(),
        /// Whom to write to.
        pub support_email: String = String::new(),
        /// The CANARIE category.
        pub category: String = String::new(),
        /// The field of research.
        pub research_subject: String = String::new(),
        /// Keywords, without white space round them.
        pub tags: Vec<String> = Vec::new(),
    }
}

table! {
    /// `[platform]`: what the CANARIE pages say about the whole installation.
    pub struct Platform {
        /// For `/platform/info`.
        pub about: About = About::default(),
        /// The pages under `/platform`.
        pub pages: Pages = Pages::default(),
    }
}
