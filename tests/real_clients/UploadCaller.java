// SPDX-License-Identifier: Apache-2.0
// The JDK's HTTP client, with its defaults (HTTP_2, so it offers h2c), uploads bodies: java UploadCaller.java URL TOKEN
// Prints one line for each call: what was tried, the status, and the answer's body.
import java.io.ByteArrayInputStream;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublisher;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse;
import java.net.http.HttpResponse.BodyHandlers;
import java.time.Duration;
import java.util.Arrays;

public final class UploadCaller {
    private static final int[] SIZES = {0, 1, 11, 16384, 300000};

    public static void main(String[] arguments) {
        for (HttpClient.Version version : HttpClient.Version.values()) {
            // One client for all calls, so that its connections are used again.
            HttpClient client = HttpClient.newBuilder().version(version).build();
            for (int round = 0; round < 2; round++) {
                for (int size : SIZES) {
                    for (boolean streamed : new boolean[] {false, true}) {
                        String name = version + "-" + round + "-" + size + "-" + (streamed ? "streamed" : "known");
                        System.out.println(name + " " + call(client, arguments[0], arguments[1], name, size, streamed));
                    }
                }
            }
        }
    }

    private static String call(
            HttpClient client, String url, String token, String name, int size, boolean streamed) {
        byte[] body = new byte[size];
        Arrays.fill(body, (byte) 'j');
        BodyPublisher publisher = streamed
            ? BodyPublishers.ofInputStream(() -> new ByteArrayInputStream(body))
            : BodyPublishers.ofByteArray(body);
        HttpRequest request = HttpRequest.newBuilder(URI.create(url + "?call=" + name))
            .header("Authorization", "Bearer " + token)
            .timeout(Duration.ofSeconds(20))
            .POST(publisher)
            .build();
        try {
            HttpResponse<String> answer = client.send(request, BodyHandlers.ofString());
            return answer.statusCode() + " " + answer.headers().firstValue("X-App-Serial").orElse("-");
        } catch (Exception problem) {
            return "failed " + problem;
        }
    }
}
