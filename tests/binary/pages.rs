use crate::program::{Place, ask, get};

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
