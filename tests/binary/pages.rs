use crate::program::{Place, ask, get};
use crate::visitor::Visitor;

#[test]
fn an_error_page_arrives_whole() {
    let place = Place::new();
    let running = place.serve(&[]);
    let web = running.address("web");
    let host = format!("Host: localhost:{}", web.port());
    let form = format!("Origin: http://localhost:{}\r\nContent-Type: application/x-www-form-urlencoded", web.port());
    for (head, expected) in [
        (format!("GET /no-such-page HTTP/1.1\r\n{host}"), 404),
        (format!("POST /sign-in HTTP/1.1\r\n{host}\r\n{form}\r\nContent-Length: 0"), 403),
        (format!("DELETE /sign-in HTTP/1.1\r\n{host}"), 405),
    ] {
        let (status, answer) = ask(web, &head);
        assert_eq!(status, expected, "{answer}");
        assert!(answer.trim_end().ends_with("</html>"), "{answer}");
    }
}

#[test]
fn a_page_asked_for_under_an_address_leads_to_the_public_name() {
    let place = Place::new();
    let running = place.serve(&[]);
    let web = running.address("web");
    let (status, answer) = get(web, "/sign-in");
    assert_eq!(status, 303);
    assert!(answer.contains(&format!("location: http://localhost:{}/sign-in\r\n", web.port())), "{answer}");
}

#[test]
fn a_session_and_a_form_of_it_survive_a_restart_and_hold_in_every_process() {
    let place = Place::new();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut running = place.serve(&[]);
        let token = running.setup_token();
        let mut first = Visitor::new(&running);
        first.set_up(&token, "a long enough password").await;
        let (_, _, page) = first.open("/apps/new").await;
        let of_form = |page: &str| {
            page.split_once("name=\"csrf_token\" value=\"").unwrap().1.split('"').next().unwrap().to_owned()
        };
        let form = of_form(&page);

        let beside = place.serve(&[]);
        let mut second = Visitor::new(&beside);
        second.cookies.clone_from(&first.cookies);
        assert_eq!(of_form(&second.open("/apps/new").await.2), form, "a form of one process is good in the other");
        drop((running, beside));

        let again = place.serve(&[]);
        let mut third = Visitor::new(&again);
        third.cookies.clone_from(&first.cookies);
        let (status, _, page) = third.open("/apps/new").await;
        assert_eq!((status, of_form(&page)), (200, form));
    });
}
