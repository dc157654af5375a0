// SPDX-License-Identifier: Apache-2.0
package dev.example.builds;

import jakarta.servlet.http.HttpServletRequest;
import java.util.Collections;
import java.util.List;
import org.springframework.boot.SpringApplication;
import org.springframework.boot.autoconfigure.SpringBootApplication;
import org.springframework.core.MethodParameter;
import org.springframework.http.HttpStatus;
import org.springframework.web.bind.annotation.GetMapping;
import org.springframework.web.bind.annotation.RestController;
import org.springframework.web.bind.support.WebDataBinderFactory;
import org.springframework.web.context.request.NativeWebRequest;
import org.springframework.web.method.support.HandlerMethodArgumentResolver;
import org.springframework.web.method.support.ModelAndViewContainer;
import org.springframework.web.server.ResponseStatusException;
import org.springframework.web.servlet.config.annotation.WebMvcConfigurer;

/** Spring behind the gate: who is calling comes from the gate's headers, and from nothing else. */
@SpringBootApplication
public class BuildsApplication implements WebMvcConfigurer {
  /** Who the gate let in, and what it decided on. */
  record Caller(String subject, String issuer, String account, String project) {}

  /** Gives a handler its caller; on a route that is public at the gate there is none. */
  static class CallerResolver implements HandlerMethodArgumentResolver {
    @Override
    public boolean supportsParameter(MethodParameter parameter) {
      return parameter.getParameterType() == Caller.class;
    }

    @Override
    public Caller resolveArgument(
        MethodParameter parameter,
        ModelAndViewContainer container,
        NativeWebRequest web,
        WebDataBinderFactory factory) {
      HttpServletRequest request = web.getNativeRequest(HttpServletRequest.class);
      Caller caller =
          new Caller(
              gateHeader(request, "X-Watchword-Subject"),
              gateHeader(request, "X-Watchword-Issuer"),
              gateHeader(request, "X-Watchword-Account"),
              gateHeader(request, "X-Watchword-Project"));
      if (caller.subject().isEmpty() || caller.issuer().isEmpty()) {
        throw new ResponseStatusException(
            HttpStatus.UNAUTHORIZED, "this needs a caller, and its route is public at the gate");
      }
      return caller;
    }

    /** The value of a header that the gate sets on each request, even if it is empty. */
    private static String gateHeader(HttpServletRequest request, String name) {
      List<String> values = Collections.list(request.getHeaders(name));
      if (values.size() != 1) {
        throw new IllegalStateException(
            name + " came " + values.size() + " times: this app has to be behind its gate");
      }
      return values.get(0);
    }
  }

  @Override
  public void addArgumentResolvers(List<HandlerMethodArgumentResolver> resolvers) {
    resolvers.add(new CallerResolver());
  }

  @RestController
  static class Builds {
    /** Answers for the account and the project that the gate decided on. */
    @GetMapping("/accounts/{account}/projects/{project}/builds")
    Caller builds(Caller caller) {
      if (caller.account().isEmpty() || caller.project().isEmpty()) {
        throw new IllegalStateException("the route at the gate has to name {account} and {project}");
      }
      return caller;
    }
  }

  public static void main(String[] arguments) {
    SpringApplication application = new SpringApplication(BuildsApplication.class);
    // Loopback: only the gate of this pod reaches it.
    application.setDefaultProperties(
        java.util.Map.of("server.address", "127.0.0.1", "server.port", "${PORT:8080}"));
    application.run(arguments);
  }
}
